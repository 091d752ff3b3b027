# For two CPU cores: 256 tokens of 8 x 8 pixels and 2 frames. One thread per
# process: OMP_NUM_THREADS=1.
arch = dict(embed_dims=128, depth=12, num_heads=4)
img_size = 64
patch_size = 8
num_frames = 8
# Chosen with VideoMAE alone, before any label was read: see docs/results.md.
mask_ratio = 0.75
pixel_norm = 'clip'
watched_clips = 32
num_workers = 0
compile = False

pretrain = dict(steps=2000, epochs=20, batch_size=32, lr=1e-3)
finetune = dict(epochs=15, batch_size=8, lr=1e-3)
