"""mem_aae"""
