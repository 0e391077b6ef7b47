"""The HTTP API: Quart blueprints over the inbox, the keys and the store.

Routes say who may call (`guard`), what the body must be (`bodies`) and hand the work down; what they raise
becomes a problem document (`problems`). The parts they need come as one object (`parts`), never as a global.
"""
