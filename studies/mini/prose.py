"""What the page says whatever the results are."""

TITLE = '# Does BIMM help, and how much? A miniature study on real clips'

TOY = (
    '**Toy results: models far too small and runs far too short to say '
    'anything about any method. This page only shows that the program runs.**'
)

QUESTION = (
    'The same small video transformer is pretrained by every method on the '
    'same few real clips, then finetuned on their actions; its frozen '
    'features are probed as well. All of it is the released code: the '
    'configs of `configs/` made small, the same models, runner and heads.'
)

COMMANDS = """\
```bash
python -m studies.mini.run --videos VIDEOS \\
    --folds LISTS/fold{}_train.txt LISTS/fold{}_val.txt \\
    --size small tiny --budget clips time --minutes 0
python -m studies.mini.report work_dirs/mini_study/NAME/results.json \\
    --pictures work_dirs/mini_study/NAME/pictures
```"""

OWN_CLIPS = """\
A folder with a folder of clips for each class is all it takes: write lists of
folds, then give them to the two commands above, from the project's root.

```bash
python -m studies.mini.lists VIDEOS --out LISTS
```

`--group` keeps clips of one source video in one fold. `--minutes` stops after
that time; the same command goes on from there, and `--merge` adds results of
other machines. `--jobs` runs several trainings side by side on one GPU,
`--compile` compiles pretraining, `--methods` adds rows of Table 7,
`--pretrain-on all` pretrains once per seed and not once per fold, and
`--dry-run` lists what is left to do. This page, as it comes with the project,
is what `python -m studies.mini.report docs/mini_study.json` makes of the
results beside it. Nothing needs mmcv's compiled operators: mmcv-lite will do.

Learning rate and number of steps can be chosen first, on VideoMAE alone, by a
rule that reads no label (`studies/mini/settings.py`), and are then copied into
`studies/mini/configs`:

```bash
python -m studies.mini.choose --videos VIDEOS --home CHOICE \\
    --folds LISTS/fold{}_train.txt LISTS/fold{}_val.txt
```

`CHOICE/settings.json` is for the report's `--settings`."""

HOW_TO_READ = (
    'Mean over seeds of the mean over folds ± standard deviation over seeds '
    'of the mean over folds, in per cent; in brackets the number of runs '
    '(seeds times folds). A mean of fewer runs than its neighbor is over '
    'other folds: compare such methods by the paired differences only. "Same '
    'clips": every method\'s video branch sees the same number of clips, and '
    'the ventral stage comes on top; "same time": pretraining, ventral stage '
    "included, takes as long as VideoMAE's did. Methods without pretraining "
    'and VideoMAE itself have the same runs in both. The linear probe and '
    'k-NN of "from scratch" are those of random weights.'
)

INTERVALS = (
    'Differences are taken within each pair of seed and fold, and only where '
    'both methods have a finished run; folds are the same in all seeds. '
    'Training sets of different folds overlap, and every seed tests the same '
    'clips again, so that the differences are not independent. The plain t '
    'interval takes them as independent and is too narrow; '
    'here the variance of the mean is, as Nadeau and Bengio propose '
    '(Machine Learning 52, 2003), s² (1/(k r) + n_test/n_train) for k '
    'folds and r seeds, with k r - 1 degrees of freedom, as Bouckaert and '
    'Frank (PAKDD 2004) use it for repeated k-fold cross-validation. A cell '
    'is the mean difference, the ends of the 95 % interval, and the number '
    'of pairs.'
)

BESIDES = (
    'The diagnosis below, measured during pretraining, is where to look for '
    'the reason: '
    '[how to read it](diagnosis.md).'
)

LIMITS = """\
- Few clips of few scenes, often with the same people: nothing follows for
  other videos, nor for the paper's sizes, where BIMM was reported to help.
- The models are small (ViT-small and smaller, 112 pixels) and trained for
  little; a method that needs more of either is not judged.
- Contours are Sobel's, computed on the device, where the paper has masks of
  SAM; its footnote 3 allows other detectors, but does not say that they serve
  as well.
- The ventral stage learns from single frames of the same clips, not from
  ImageNet.
- Where the learning rate and the number of steps were chosen by measuring, it
  was on VideoMAE: if they favour a method, they favour VideoMAE. The choice
  reads no label. It sees clips of the training list of fold 0, which other
  folds test.
- Where pretraining was on all clips, test clips were seen without their
  labels (transductive), and folds of a seed share one pretraining, which the
  interval does not know of.
- n_test/n_train is a correction by a rule of thumb, and no interval is
  corrected for the number of comparisons.
- Accuracies below a trivial feature say nothing, whatever their
  differences."""

UNCHOSEN = (
    'not run: settings are the defaults of `studies/mini/configs`, chosen '
    'without measuring.'
)
