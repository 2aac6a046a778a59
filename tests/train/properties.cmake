# A trainer on fixed rates, and a driver that fails when it is told to.
target_sources(test_trainer PRIVATE engine/fixed_profile.c)
target_link_options(test_trainer PRIVATE -Wl,--wrap=evn_profiles_get,--wrap=evn_profile_get)
add_dependencies(test_trainer evener_probe fault_layer)
