# ViT-small. Every number is of the study alone; the paper has ViT-B at 224
# pixels for 800 epochs.
arch = dict(embed_dims=384, depth=12, num_heads=6)  # ViT-S
img_size = 112  # chosen: a quarter of the paper's tokens
patch_size = 16  # as the paper's
num_frames = 16  # Sec. A.2
mask_ratio = None  # of tubes; None: as released
pixel_norm = None  # of V4 and VideoMAE; None: as released
watched_clips = 64  # chosen: training clips that the curves are measured on
num_workers = 4  # chosen: per run
compile = False

# A run is cut into about as many epochs of equal length: a validation after
# each, and the first one is the warm-up (Table 8 and Table 9: 5 % of epochs).
# chosen: steps and learning rate have not been tuned.
pretrain = dict(steps=4000, epochs=20, batch_size=64, lr=6e-4)
# chosen: 200 passes, as each batch has every clip twice
finetune = dict(epochs=100, batch_size=32, lr=5e-4)
