"""Training: the plan of an epoch, the trainer that carries it out, checkpoints.

Nothing is imported here, so that a plan can be read without waiting for torch.
"""
