# Ours, not the paper's: hidden tokens of the dorsal decoders attend to visible
# ones alone, as in CrossMAE; V1's does so anyway. The joint stage alone
# differs.
_base_ = '../_base_/ablation_ucf101.py'

v1, v2, mt = _base_.dorsal.areas
cross = dict(type='bimm_mm.CrossDecoder')
model = dict(
    dorsal=dict(
        areas=[
            v1,
            dict(v2, decoder=dict(v2.decoder, **cross)),
            dict(mt, decoder=dict(mt.decoder, **cross)),
        ]
    )
)
