# The same encoder on pictures of 64 pixels: 64 tokens. About 50 passes over
# tiny20's 2,000 pictures.
_base_ = 'cpu.py'

pixel_norm = None  # as released: MAE leaves the plateau with it
pretrain = dict(steps=1500, epochs=10, batch_size=64)
finetune = dict(epochs=10, batch_size=32)
