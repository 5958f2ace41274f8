"""The OAuth 2.0 and OpenID provider: who may get which token, for how long, and at what price.

The protocol is Authlib's; stored state, tokens and rotation are ours. Pages are not here.
"""
