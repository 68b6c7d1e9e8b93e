"""The node ids of ComfyUI_IPAdapter_plus, versions 1 and 2, so that graphs which use them go on.

Each node translates its inputs into what the nodes beside this folder do. ``compat.py`` lists where
that differs from what version 2 did, and brings its ways back for whoever asks.
"""
