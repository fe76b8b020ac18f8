"""Contrastive fine-tuning: the training set of a cell, its batches, the trainer."""
