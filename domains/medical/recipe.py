"""The published recipe for medicine.

Source: github.com/OpenGVLab/InternVL (2410d1d) ``internvl_chat/shell/mini_internvl/domain_adaptation/*medical*.sh``: 64
packs of at most 48 tiles a step; with rows of several tiles that stands for about 512 rows. General to domain data 1 : 1
(arXiv 2410.16261).
"""

RECIPE = {
    "train.learning_rate": 1e-5,
    "train.weight_decay": 0.01,
    "train.warmup_ratio": 0.03,
    "train.loss_reduction": "square",
    "train.samples_per_step": 512,
    "train.drop_path": 0.1,
    "data.max_tiles": 12,
    "data.general_ratio": 1.0,
}
