# Writes OUTPUT: a C table of every kernel file under ROOT as byte arrays. Byte arrays, because C11 guarantees
# string literals of 4,095 characters only.
file(GLOB_RECURSE files RELATIVE ${ROOT} ${ROOT}/*.cl ${ROOT}/*.h)
list(SORT files)
set(arrays "")
set(rows "")
set(index 0)
foreach(file IN LISTS files)
	file(READ ${ROOT}/${file} hex HEX)
	string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
	string(APPEND arrays "static const unsigned char file_${index}[] = {${bytes}0};\n")
	string(APPEND rows "\t{\"${file}\", (const char *)file_${index}, sizeof file_${index} - 1},\n")
	math(EXPR index "${index} + 1")
endforeach()
file(WRITE ${OUTPUT} "#include \"ocl/kernel_sources.h\"\n\n${arrays}
const evn_kernel_source evn_kernel_sources[] = {\n${rows}};
const size_t evn_kernel_source_count = ${index};\n")
