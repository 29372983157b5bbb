"""How fast a network is on this machine, in every engine at hand, and how much of the machine that uses.

network -> the files of every engine -> a process for each contender -> turns -> ratios, and the roofline
"""
