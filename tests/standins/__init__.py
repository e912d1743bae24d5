"""Stand-ins for the published weights: the authors' layouts, ids, trainers, label tables and spacings.

One small network is trained: the shipped phantom model of the abdomen. All others are made from it by arithmetic
on its weights (`network.py`) and written as the authors write theirs (`folders.py`). Nothing of it knows a patient.
"""
