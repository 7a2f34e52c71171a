"""What a report says of evaluation, in every language, side by side."""

from __future__ import annotations

EVALUATION: dict[str, tuple[str, str]] = {
    "no_evaluations": ("This run has not been evaluated yet.", "尚未对该实验进行评估。"),
    "reference": (
        "Reference: {name}, {size}×{size}, {count} images (sha256 {digest})",
        "参考集：{name}，{size}×{size}，{count} 张（sha256 {digest}）",
    ),
    "reference_bare": (
        "Reference: {name}, {size}×{size}, {count} images",
        "参考集：{name}，{size}×{size}，{count} 张",
    ),
    "held_out_set": ("Real held-out images: sha256 {digest}", "真实图片（留出集）：sha256 {digest}"),
    "beside_set": (
        "Real images beside: {name} (sha256 {digest})",
        "对照真实图片：{name}（sha256 {digest}）",
    ),
    "extractor": ("Features: {name} (sha256 {digest})", "特征网络：{name}（sha256 {digest}）"),
    "weaker": ("Weaker model of {guide}: sha256 {digest}", "{guide} 的较弱模型：sha256 {digest}"),
    "network_calls": ("Network calls per image", "单图网络调用次数"),
    "measured": ("Images measured per row: {count}", "每行评估图片数：{count} 张"),
    "batch_size": ("Batch size: {size}", "Batch size：{size}"),
    "sampler": ("Sampler", "采样器"),
    "held_out_mse": ("Held-out MSE (rank)", "验证 MSE（名次）"),
    "mse_rank": ("{mse} ({rank} of {count})", "{mse}（{rank}/{count}）"),
    "nearest_real": ("{metric} → real", "{metric} → 真实"),
    "evaluation_time": ("Time (generation + measuring)", "耗时（生成 + 测量）"),
    "evaluation_time_value": (
        "{total} ({generation} + {measuring})",
        "{total}（{generation} + {measuring}）",
    ),
    "real_images": ("Real held-out images", "真实图片（留出集）"),
    "real_images_of": ("Real images ({name})", "真实图片（{name}）"),
    "of_fewer": ("{figure} (of {count})", "{figure}（{count} 张）"),
    "clip": ("Clipping", "裁剪"),
    "yes": ("yes", "是"),
    "no": ("no", "否"),
    "seed": ("Seed", "种子"),
    "unlike_rows": (
        "Forced: these rows were not measured alike; their figures cannot be held against one another.",
        "强制并列：下列各行的测量条件不同，数值不可相互比较。",
    ),
    "number_of_images": ("Images", "图片数"),
    "reference_title": ("Reference", "参考集"),
    "beside_title": ("Real images beside", "对照真实图片"),
    "networks": ("Networks", "特征网络"),
    "other_measurement": (
        "Measured against other real images, with another network of the same name, or other numbers of "
        "images: not comparable with the above.",
        "参考集、留出集、同名特征网络或图片数不同，不可与上表比较。",
    ),
    "spread_meaning": ("± is the standard error of the figure.", "± 为该数值的标准误差。"),
    "split_meaning": ("(±) is the standard deviation over splits.", "(±) 为各分组间的标准差。"),
    "tie_meaning": (
        "≈ marks the best of a column and those that are not distinguishable from it (Student's t at 95%, "
        "corrected for all pairs of rows among which it was chosen; rows of the same noise are compared "
        "by their differences). Bold is one that is told from all others.",
        "≈ 表示该列最佳值及与其无法区分者（t 检验，95%，按所有行两两比较作校正，因为最佳值是从中选出的；"
        "同噪声的行按配对差值比较）。粗体表示与其余各行均可区分。",
    ),
    "fewer_meaning": (
        "(of a number) behind a figure of real images: there were not as many as generated ones, and few "
        "images bias a Fréchet distance upward.",
        "真实图片数值后的（张数）表示其数量与生成图片不同；图片较少会使 Fréchet 距离偏高。",
    ),
    "nearest_meaning": (
        "What real images score in the distance from the nearest training image is that of held-out ones.",
        "与最近训练图片的距离一列中，真实图片的数值取自留出集。",
    ),
    "weights": ("Weights", "权重"),
    "overlap": ("Overlap with real images:", "与真实图片的重合："),
    "diversity": (
        "Diversity, and distance from the nearest training image:",
        "多样性，以及与最近训练图片的距离：",
    ),
    "per_class": ("By class, for {row}:", "各类结果（{row}）："),
    "few_of_class": (
        "A Fréchet distance of one class rests on as few as {count} images and is biased upward by it: "
        "hold it against that of as many real images alone.",
        "单个类别的 Fréchet 距离最少仅由 {count} 张图片得出，因此偏高，只可与同样数量的真实图片相比。",
    ),
    "class": ("Class", "类别"),
    "of_real": ("{metric}, real", "{metric}（真实）"),
    "row_name": ("{checkpoint}, {sampler}", "{checkpoint}，{sampler}"),
    "best_row": ("Best by {metric}: {row}, {value}.", "按 {metric} 最佳：{row}，{value}。"),
    "best_row_ties": (
        "Best by {metric}: {row}, {value}; not distinguishable from it: {ties} more.",
        "按 {metric} 最佳：{row}，{value}；另有 {ties} 行与其无法区分。",
    ),
    "against_best": ("By {metric}, against the best row:", "按 {metric} 与最佳行相比："),
    "behind": ("{metric}: behind by", "{metric} 差距"),
    "verdict": ("Verdict", "结论"),
    "better": ("better", "更好"),
    "worse": ("worse", "更差"),
    "not_distinguishable": ("not distinguishable", "无法区分"),
    "not_known": ("not known", "未知"),
    "same_noise": ("Same noise", "同噪声"),
    "more_behind": (
        "{count} more are further behind, {alike} of them not distinguishable.",
        "另有 {count} 行差距更大，其中 {alike} 行无法区分。",
    ),
    "images_alone": (
        "These verdicts reckon with the noise of the images alone: the same models trained from another seed "
        "may come out in another order.",
        "以上结论仅考虑图片采样的随机性：换训练种子后，模型的次序可能不同。",
    ),
    "over_seeds": (
        "Over training seeds, mean ± standard error of runs that differ in nothing else:",
        "不同训练种子（其余设置相同）的平均值 ± 标准误差：",
    ),
    "seeds": ("Training seeds", "训练种子数"),
    "seeds_against_best": (
        "By {metric} over training seeds (Welch's t-test), the best of each model against {model}:",
        "按 {metric} 对训练种子取平均（Welch t 检验），各模型最佳结果与 {model} 相比：",
    ),
    "guidance_caption": ("{metrics} against guidance scale", "{metrics} 随引导尺度的变化"),
    "best_lines": (
        "{caption} (the {shown} best of {count} lines)",
        "{caption}（{count} 条曲线中最佳的 {shown} 条）",
    ),
    "cost_caption": (
        "{metrics} against the cost of an image, with the number of steps: {settings}",
        "{metrics} 与单图采样开销的关系（标注为步数）：{settings}",
    ),
    "classes_caption": ("{metrics} by class: {row}", "各类别的 {metrics}：{row}"),
    "nearest_caption": (
        "The generated images that are nearest to a training image, with their nearest ones: {row}",
        "与训练图片最接近的生成图片，及与其最近的训练图片：{row}",
    ),
    "mse_note": (
        "The lowest MSE is not the best: with {settings}, {better} reaches {metric} {value}, the checkpoint "
        "with the lowest MSE ({lowest}) {other}. Evaluate several checkpoints before choosing one.",
        "说明：训练时 MSE 最低不一定评估最佳。在 {settings} 的条件下，{better}的 {metric} 为 {value}，"
        "而 MSE 最低的存档（{lowest}）为 {other}。建议对多份存档评估后再选最终模型。",
    ),
}
"""key: (English, Chinese)."""

TERMS: dict[str, str] = {
    "held-out MSE": "验证 MSE",
    "FD (classifier)": "FD（分类器）",
    "Accuracy (classifier)": "准确率（分类器）",
    "Precision": "精确率",
    "Recall": "召回率",
    "Density": "密度",
    "Coverage": "覆盖率",
    "Precision (classifier)": "精确率（分类器）",
    "Recall (classifier)": "召回率（分类器）",
    "Density (classifier)": "密度（分类器）",
    "Coverage (classifier)": "覆盖率（分类器）",
    "LPIPS diversity": "LPIPS 多样性",
    "LPIPS diversity, all pairs": "LPIPS 多样性（不分类别）",
    "LPIPS diversity (VGG)": "LPIPS 多样性（VGG）",
    "LPIPS diversity (VGG), all pairs": "LPIPS 多样性（VGG，不分类别）",
    "Diversity (classifier)": "多样性（分类器）",
    "Diversity (classifier), all pairs": "多样性（分类器，不分类别）",
    "Nearest training image": "最近训练图片的距离",
    "Nearest training image (classifier)": "最近训练图片的距离（分类器）",
}
"""English name of a metric: Chinese. What is not here is called alike everywhere, such as FID."""
