# What comes with the package as bimm-cpu-demo: small enough for a wheel.
_base_ = 'cpu.py'

arch = dict(embed_dims=96, depth=12, num_heads=3)
watched_clips = 8

pretrain = dict(steps=1500)
