"""Studies: experiments made of the released code."""
