# The parts of sluicectl that ask nobody.
foreach(part IN ITEMS batches picture slots job)
    sluice_test(ctl_${part} SOURCES "${CMAKE_CURRENT_LIST_DIR}/test_ctl_${part}.c"
        LINK sluice_ctl_parts sluice_proto)
endforeach()
foreach(part IN ITEMS backup_file restore_merge slot_list)
    sluice_test(ctl_${part} SOURCES "${CMAKE_CURRENT_LIST_DIR}/test_ctl_${part}.c"
        LINK sluice_ctl_backup)
endforeach()
sluice_test(ctl_command_line SOURCES "${CMAKE_CURRENT_LIST_DIR}/test_ctl_command_line.c"
    LINK sluice_ctl)
