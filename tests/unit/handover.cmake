sluice_test(handover SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_handover.c LINK sluice_server_core)
