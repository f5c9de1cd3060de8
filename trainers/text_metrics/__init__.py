"""How good texts are that a model wrote, from the texts alone; table.py has the names.

Each metric is a function of predictions, a list of N strings, and references, a list of N lists of
strings of which all are right, to {name of a figure: float}. sacreBLEU's figures go from 0 to 100
as it reports them; all others are shares from 0 to 1, or counts.
"""
