# As cheap as it gets, for tests on a CPU: it learns nothing. Twelve blocks, so
# that every method's areas stay where they are.
arch = dict(embed_dims=48, depth=12, num_heads=3)
img_size = 32
patch_size = 8
num_frames = 8
mask_ratio = None
pixel_norm = None
watched_clips = 4
num_workers = 0
compile = False

pretrain = dict(steps=24, epochs=8, batch_size=4, lr=6e-4)
finetune = dict(epochs=1, batch_size=4, lr=5e-4)
