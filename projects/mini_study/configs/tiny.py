# ViT-tiny, everything else as in small.py.
_base_ = 'small.py'

arch = dict(embed_dims=192, num_heads=3)  # ViT-Ti
