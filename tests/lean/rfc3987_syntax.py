"""In the place of the package of this name, which jsonschema then does without.

Every process that opens a notebook would compile its grammar of IRIs, which takes longer than
all else such a process does; no notebook has an IRI to be checked.
"""

raise ImportError("the tests do without this package, see tests/lean")
