# Writes OUTPUT: C source with the bytes of INPUT as `const unsigned char NAME[]`, and their number as NAME_bytes.
file(READ ${INPUT} hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
file(WRITE ${OUTPUT} "#include \"serve/static_files.h\"\n
const unsigned char ${NAME}[] = {${bytes}0};\nconst size_t ${NAME}_bytes = sizeof ${NAME} - 1;\n")
