// Predict for a photo (binary PPM, 8 bits) with an exported model: predict MODEL.xml PHOTO.ppm [DEVICE]
#include <fstream>
#include <iostream>
#include <openvino/openvino.hpp>
#include <stdexcept>
#include <string>

// A fact that the model holds about itself.
std::string card(const ov::Model& model, const std::string& key) {
    return model.get_rt_info<std::string>("anomalib_flows", key);
}

// Read a PPM without comments, in the order of axes and colours that the model expects.
ov::Tensor read(const std::string& path, bool planes, bool bgr) {
    std::ifstream file(path, std::ios::binary);
    std::string kind;
    size_t width = 0, height = 0, most = 0;
    file >> kind >> width >> height >> most;
    file.get();  // one white space ends the header
    if (!file || kind != "P6" || most != 255) throw std::runtime_error(path + " is not a binary PPM of 8 bits");
    std::string rgb(width * height * 3, '\0');
    if (!file.read(rgb.data(), rgb.size())) throw std::runtime_error(path + " is cut off");
    ov::Tensor image(ov::element::u8, planes ? ov::Shape{1, 3, height, width} : ov::Shape{1, height, width, 3});
    uint8_t* values = image.data<uint8_t>();
    for (size_t pixel = 0; pixel < width * height; ++pixel)
        for (size_t c = 0; c < 3; ++c)
            values[planes ? c * width * height + pixel : pixel * 3 + c] = rgb[pixel * 3 + (bgr ? 2 - c : c)];
    return image;
}

int main(int count, char* words[]) try {
    if (count < 3) throw std::runtime_error("usage: predict MODEL.xml PHOTO.ppm [DEVICE]");
    ov::Core core;
    auto model = core.read_model(words[1]);
    if (card(*model, "format") != "1" || card(*model, "interface") != "native")
        throw std::runtime_error("the model has another format, or is meant for another program");
    // CPUs with bfloat16 would otherwise compute in bfloat16, and scores would change.
    ov::AnyMap options{{"INFERENCE_PRECISION_HINT", card(*model, "inference_precision")}};
    auto request = core.compile_model(model, count > 3 ? words[3] : "CPU", options).create_infer_request();
    auto image = read(words[2], card(*model, "input_layout") == "NCHW", card(*model, "channels") == "BGR");
    request.set_tensor("image", image);
    request.infer();
    auto mask = request.get_tensor("pred_mask");  // [1, 1, H, W]; the map likewise
    size_t marked = 0;
    for (size_t i = 0; i < mask.get_size(); ++i) marked += mask.data<uint8_t>()[i];
    std::cout.precision(9);
    std::cout << "raw_score " << request.get_tensor("raw_score").data<float>()[0] << "\nscore "
              << request.get_tensor("pred_score").data<float>()[0] << "\nlabel "
              << request.get_tensor("pred_label").data<int32_t>()[0] << "\nmarked " << marked << " of "
              << mask.get_size() << " pixels\n";
} catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
}
