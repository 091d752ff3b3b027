# What the ablations on UCF101 have in common, those of Table 7 and ours.
base_lr = 3e-4  # Table 8, UCF
train_cfg = dict(by_epoch=True, max_epochs=800)  # Sec. 4.3
