"""Every defect that was found, as a scenario: what happened, in few steps, and the code as it was.

Each file tells one story. Its scenario passes; with the defect put back (`as_it_was`) it fails, and says why. So a
defect cannot come back unseen, and the scenario cannot come to show nothing.
"""
