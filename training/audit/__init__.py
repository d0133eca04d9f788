"""Are the labels right? Units, signs, copies and outliers, before a run trains on them."""
