"""How small a fault of a derivative the derived checks notice, whatever the number of elements.

`python -m tests.detection` prints the table: faults planted in the reference, caught, and correct operators accused.
"""
