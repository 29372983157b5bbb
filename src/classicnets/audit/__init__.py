"""Audit labelled images: wrong labels, giveaways, whether there are enough, what to label next."""
