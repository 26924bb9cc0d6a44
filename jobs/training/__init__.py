"""How is a lesion segmenter trained from the store, and the same config the same model?"""
