"""The published recipe for driving.

Source: github.com/OpenGVLab/InternVL (2410d1d) ``internvl_chat/shell/mini_internvl/domain_adaptation/*drivelm*.sh``.
Eight GPUs take one pack of at most three 13-tile rows each, so a step stands for 24 rows. General to domain data 1 : 4
(arXiv 2410.16261).
"""

RECIPE = {
    "train.learning_rate": 1e-5,
    "train.weight_decay": 0.01,
    "train.warmup_ratio": 0.03,
    "train.loss_reduction": "square",
    "train.samples_per_step": 24,
    "train.drop_path": 0.1,
    "data.max_tiles": 12,
    "data.general_ratio": 0.25,
}
