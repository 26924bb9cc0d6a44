"""How is a lesion segmenter trained from the store, so that the same config gives the same model?"""
