# Stage 1 of ablations: the ventral branch on ImageNet-1K.
base_lr = 2e-4  # Table 8, IN-1K
train_cfg = dict(by_epoch=True, max_epochs=800)  # Sec. A.1
