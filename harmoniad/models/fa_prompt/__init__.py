"""Prompts of normal and of abnormal in the manner of FAPrompt (Zhu et al., ICCV 2025); needs an encoder of CLIP's kind.

A token is strange if it is nearer to what the text tower makes of learned abnormal prompts than of the normal one. The
paper learns them on labelled images of other data; here they are learned on copies with made defects.
"""
