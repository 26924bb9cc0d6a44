"""How well does a mask agree with the truth, and how much did it change between two scans?"""
