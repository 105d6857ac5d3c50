"""The pages, one file for each subject; templates of the same names show what they find."""
