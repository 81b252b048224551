"""One command for somebody with a folder of photographs: which model to deploy, and why.

`folders` makes a data set of several folders, `plan` says what is tried in the given minutes,
`choose` chooses by validation images and images without labels alone, `report` gathers what was
found, `page` writes it, and `tune` does all of it in turn. It is a door: computing rooms are
imported inside the functions that need them. Start with tune.
"""
