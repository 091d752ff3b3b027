# Your videos: all that the configs of this folder ask for. `bimm pretrain` and
# `bimm finetune` fill it in from what `bimm data scan` wrote.
root = 'data/own/videos'  # folder at which the paths in the lists begin
lists = dict(train='data/own/train.txt', val='data/own/val.txt')
delimiter = ' '  # between path and class in the lists
classes = 2  # of finetuning; at least 2
image_size = 224  # pixels; a multiple of 16
frames = 16  # of a clip; even
interval = 4  # frames from one of a clip to the next
contour_files = 'data/own/contours'  # or none, with --contours sobel
epochs = dict(pretrain=400, finetune=50)
batch_size = 16  # of an update, on each GPU
