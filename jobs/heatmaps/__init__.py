"""Where is each lumbar level, as heatmaps of a 2D network on sagittal slices?"""

LEVELS = ("l1_l2", "l2_l3", "l3_l4", "l4_l5", "l5_s1")
"""What channels 1 to 5 of every network stand for, from the head down; channel 0 is background."""
