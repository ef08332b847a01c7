"""How good a transcript is: word error rate against a reference, and what can be judged without one.

Here belong figures and findings. Here does not belong the decision of what follows from them: that is ``recordings.steps.verify``.
"""
