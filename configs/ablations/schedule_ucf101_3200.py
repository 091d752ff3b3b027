# Figure 3, UCF101: a longer schedule than the 1600 epochs of the main results.
_base_ = '../bimm/pretrain_joint_ucf101.py'

train_cfg = dict(max_epochs=3200)  # chosen: twice Sec. A.2
