# Stage 2 on Kinetics-400 for few GPUs of 80 GB or more: the losses of
# pretrain_joint_k400.py and its total batch, compiled, more clips per GPU.
_base_ = [
    '../_base_/models/bimm_base.py',
    '../_base_/datasets/k400_pretrain.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

optim_wrapper = dict(optimizer=dict(lr=1.5e-4))  # Table 8, base lr
train_cfg = dict(by_epoch=True, max_epochs=800)  # Sec. A.2
train_dataloader = dict(batch_size=64)  # chosen: of 256, on 4 GPUs
compile = dict(fullgraph=True)
