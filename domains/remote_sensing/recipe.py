"""The published recipe for remote sensing.

Source: github.com/OpenGVLab/InternVL (2410d1d) ``internvl_chat/shell/mini_internvl/domain_adaptation/*remote*.sh``: 2,500 steps
of 64 packs (8 GPUs, 8 accumulated) of at most 48 tiles. The data of the released meta is about 790,000 rows (GeoChat 307 k,
RSVQA-HR 100 k, FIT-RS 100 k, DIOR-RSVG 26 k, general 254 k), so a step stands for about 320 rows if the steps were meant as one
epoch (inferred). The general part is 20 % of the general set (arXiv 2410.16261), here 0.2 general samples a domain sample.
"""

RECIPE = {
    "train.learning_rate": 1e-5,
    "train.weight_decay": 0.01,
    "train.warmup_ratio": 0.03,
    "train.loss_reduction": "square",
    "train.samples_per_step": 320,
    "train.drop_path": 0.1,
    "data.max_tiles": 12,
    "data.general_ratio": 0.2,
}
