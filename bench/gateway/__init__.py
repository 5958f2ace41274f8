"""The model gateway beside nginx and other gateways, all measured in one run.

Every target forwards the same requests to the same upstream (an nginx). Upstream and load
generator run on one core, the target under load on another, one worker each. What is compared is
CPU time per request: scheduler run time of the target's whole process tree over its requests.
Neighbours move that figure and the clock of the machine moves it too, so every ratio is of one
round, in which the targets take their turns, and the median over the rounds is told.
"""
