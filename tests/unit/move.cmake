# What moves slots: where they should be, when the dead are taken over, how a slot is sealed.
set(here "${CMAKE_CURRENT_LIST_DIR}")
sluice_test(placement SOURCES ${here}/test_placement.c LINK sluice_proto)
sluice_test(ownership SOURCES ${here}/test_ownership.c LINK sluice_server_core)
sluice_test(shard_seal SOURCES ${here}/test_shard_seal.c ${here}/shard_fixture.c
    LINK sluice_server_core)
sluice_test(request_control SOURCES ${here}/test_request_control.c LINK sluice_proto)
