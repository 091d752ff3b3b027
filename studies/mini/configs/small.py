# ViT-small. Every number is of the study alone; the paper has ViT-B at 224
# pixels for 800 epochs.
arch = dict(embed_dims=384, depth=12, num_heads=6)  # ViT-S
img_size = 112  # chosen: a quarter of the paper's tokens
patch_size = 16  # as the paper's
num_frames = 16  # Sec. A.2
frame_interval = 3  # chosen: 16 frames span 46 of clips as short as 52
side = 128  # chosen: stored frames, a little more than a crop

# chosen, and not yet confirmed by studies/mini/settings.py on a GPU.
pretrain = dict(steps=4000, batch_size=64, lr=6e-4)
# chosen: about 200 epochs of 96 clips.
finetune = dict(steps=600, batch_size=32, lr=5e-4)
