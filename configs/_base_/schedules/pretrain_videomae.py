# VideoMAE's schedule: what differs from Table 8's.
_base_ = './pretrain.py'

warmup, cosine = _base_.param_scheduler
cosine.pop('eta_min')
# VideoMAE's code: 1e-5 x total / 256 at the end, as the peak is 1.5e-4 x that
cosine.update(eta_min_ratio=1 / 15)
param_scheduler = [warmup, cosine]
