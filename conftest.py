"""For all tests: property tests have no deadline of their own, because machines are shared and the first call may
compile.
"""

from hypothesis import settings

settings.register_profile("splitrail", settings.default, deadline=None)
settings.load_profile("splitrail")
