"""How ``adapt convert`` streams: samples in, pictures looked at once, checked lines out, in the reader's order."""
