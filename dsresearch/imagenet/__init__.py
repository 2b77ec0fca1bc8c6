"""ImageNet-sized work: published networks trained side by side on a folder of pictures that is decoded as it is read.

`settings` says what, `program` is one step and the evaluation, `run` the loop with its checkpoints, `experiment` its
Sacred experiment.
"""
