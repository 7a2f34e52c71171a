"""Every text of a report, in every language, side by side."""

from __future__ import annotations

from triptych.errors import UserError

LANGUAGES = ("en", "zh")

TEXTS: dict[str, tuple[str, str]] = {
    # title and sections
    "title": ("{data} diffusion experiments", "{data} 扩散模型实验记录"),
    "title_cfg": ("{data} diffusion experiments (with CFG)", "{data} 扩散模型实验记录（含 CFG）"),
    "unconditional": ("Unconditional models: results", "普通扩散模型实验结果"),
    "conditional": ("Conditional models: results", "条件扩散模型实验结果"),
    "cfg_meaning": (
        "CFG is the guidance scale: 0 is unconditional, 1 plain conditional, above 1 guided "
        "(w = scale - 1 in papers that count from 0).",
        "CFG 指引导尺度：0 为无条件，1 为普通条件采样，大于 1 为引导采样（部分论文记作 w = 尺度 - 1）。",
    ),
    "overview": ("Overview", "总览"),
    "comparison": ("The best of each model by {metric}:", "各模型按 {metric} 的最佳结果："),
    "bout_caption": (
        "The same noise, drawn by each model: {caption}, seed {seed}",
        "各模型对同一噪声的采样结果：{caption}，种子 {seed}",
    ),
    "training_time": ("Training time", "训练耗时"),
    "sampling_time": ("Sampling time per image", "单图采样耗时"),
    "model_heading": ("{model} ({device})", "{model}（{device}）"),
    "model_heading_bare": ("{model}, {device}", "{model}，{device}"),
    "training": ("Training", "训练"),
    "sampling": ("Sampling", "采样"),
    "sampling_settings": ("Settings", "采样数据"),
    "sampling_pictures": ("Samples", "采样结果"),
    "sampling_gifs": ("Denoising", "去噪过程 GIF 动画"),
    "evaluation": ("Evaluation", "评估"),
    "provenance": ("Provenance", "环境与续训"),
    # overview and training tables
    "number": ("No.", "序号"),
    "model": ("Model", "模型"),
    "training_cfg": ("Training CFG", "训练 CFG"),
    "epochs": ("Epochs", "轮次"),
    "hardware": ("Hardware", "硬件"),
    "batch_lr": ("Batch / LR", "Batch / LR"),
    "schedule": ("Schedule", "调度器"),
    "cadence": ("Checkpoints and previews", "保存与采样频率"),
    "total_time": ("Total time (training + previews)", "总耗时（训+采）"),
    "item": ("Item", "项目"),
    "value": ("Value", "数值"),
    "run": ("Run", "实验名"),
    "parameters": ("Parameters", "参数量"),
    "gflop": ("GFLOP per image", "单图 GFLOP"),
    "gflop_value": (
        "{gflop} (one forward pass; a multiply-add counts two)",
        "{gflop}（前向一次；一次乘加计为 2）",
    ),
    "diffusion": ("Noise schedule / prediction", "噪声调度 / 预测目标"),
    "training_set": ("Training set", "训练集"),
    "training_set_value": ("{data}, {size}×{size}, {count} images", "{data}，{size}×{size}，{count} 张"),
    "training_set_digest": ("{summary} (sha256 {digest})", "{summary}（sha256 {digest}）"),
    "training_epochs": ("Epochs", "训练轮数"),
    "epochs_of": ("{done} of {planned}", "{done}（共 {planned}）"),
    "training_cfg_value": ("{scale} (of the previews)", "{scale}（训练中采样所用）"),
    "batch_workers": ("Batch / workers", "Batch / workers"),
    "batch_workers_note": (
        "The batch counts over all devices. Workers are 0 because the images lie decoded on the device: "
        "nothing is left to load.",
        "Batch 为全部设备合计；workers 为 0，因为图像已解码并常驻设备，无需加载进程。",
    ),
    "precision": ("Precision", "数值精度"),
    "preparation": ("Preparation of the images", "图像预处理"),
    "processes": ("Processes", "进程数"),
    "left_out": ("Steps left out", "略过的步数"),
    "left_out_value": (
        "{not_finite} not finite, {spikes} with a spike of the gradient",
        "数值非有限 {not_finite} 步，梯度突增 {spikes} 步",
    ),
    "lowest_error": ("Lowest held-out error", "最低验证误差"),
    "lowest_error_value": ("{mse}, {checkpoint}, {weights}", "{mse}，{checkpoint}，{weights}"),
    "learning_rate": ("Learning rate", "学习率"),
    "warmup_then": ("{epochs}-epoch linear warm-up → {schedule}", "{epochs} 轮线性预热 → {schedule}"),
    "cosine": ("cosine", "余弦"),
    "constant": ("constant", "恒定"),
    "checkpoint_cadence": ("Checkpoints", "存模频率"),
    "every_epochs": ("every {epochs} epochs", "每 {epochs} 轮"),
    "every_epoch": ("every epoch", "每轮"),
    "preview_cadence": ("Previews during training", "采样频率（训练中）"),
    "previews_every": (
        "from epoch {start} on, {count} images {every}",
        "从第 {start} 轮起，{every}采 {count} 张",
    ),
    "no_previews": ("none", "无"),
    "cadence_value": (
        "checkpoint {saved}; from epoch {start} on, {count} images {every}",
        "{saved}存模；{start} 轮起{every}采样 {count} 张",
    ),
    "cadence_value_bare": ("checkpoint {saved}; no previews", "{saved}存模；训练中不采样"),
    "epoch_time": ("Time per epoch", "单轮耗时"),
    "preview_time": ("Time per preview ({count} images, {sampler})", "采样耗时（{count} 张，{sampler}）"),
    "time_split": ("Of which", "其中"),
    "time_split_value": (
        "training {training}, previews {previews}, held-out error {held_out}, checkpoints {checkpoints}",
        "训练 {training}，采样 {previews}，验证误差 {held_out}，存模 {checkpoints}",
    ),
    "about": ("about {time}", "大概 {time}"),
    "first_part": ("{time} (first {epochs} epochs)", "{time}（前 {epochs} 轮）"),
    "middle_part": (
        "{time} (epochs {start} to {end}, resumed)",
        "{time}（第 {start} 至 {end} 轮，断点续训）",
    ),
    "last_part": ("{time} (last {epochs}, resumed)", "{time}（后 {epochs} 轮，断点续训）"),
    "lost_part": ("{time} (nothing kept)", "{time}（未保留）"),
    "sum_of_parts": ("{parts} = {total}", "{parts} = {total}"),
    "many_parts": ("{total} (in {count} parts)", "{total}（分 {count} 段）"),
    "devices_used": ("{name} × {present} ({used} used)", "{name} × {present}（用 {used}）"),
    "devices_used_heading": ("{name} × {present}, {used} used", "{name} × {present}，用 {used} 张"),
    "then": (", then ", "，再用 "),
    "comma": (", ", "，"),
    "curves_caption": (
        "Training loss and held-out error (lowest marked); learning rate",
        "训练损失与验证误差（标出最低点）；学习率",
    ),
    "curves_missing": (
        "Curves are drawn with matplotlib, which is not installed: in a clone, pip install "
        '-c constraints.txt -e ".[plots]" and write this report again.',
        "曲线由 matplotlib 绘制，当前未安装：在克隆目录中执行 pip install -c constraints.txt "
        '-e ".[plots]" 后重新生成本报告即可。',
    ),
    "previews": (
        "Previews drawn during training, always of the same noise:",
        "训练过程中的采样（噪声固定）：",
    ),
    "epoch_caption": ("epoch {epoch}", "第 {epoch} 轮"),
    "elsewhere": ("trained elsewhere", "外部训练"),
    "imported_from": ("Imported from", "导入来源"),
    "imported_files": ("{layout}, {file} (sha256 {digest})", "{layout}，{file}（sha256 {digest}）"),
    "image_kind": ("Images", "图像"),
    "images_like": ("like {data}, {size}×{size}", "同 {data}，{size}×{size}"),
    "images_guessed": (
        "{size}×{size}, taken for {data} by their size alone",
        "{size}×{size}，仅据尺寸视同 {data}",
    ),
    # sampling
    "sampling_hardware": ("Hardware: {device}", "硬件：{device}"),
    "sampling_precision": ("Precision of the network: {precision}", "网络数值精度：{precision}"),
    "no_samples": ("Nothing has been sampled from this run yet.", "尚未对该实验采样。"),
    "checkpoint": ("Checkpoint", "存档"),
    "method": ("Method", "方法"),
    "sampling_cfg": ("Sampling CFG", "采样 CFG"),
    "steps": ("Steps", "步数"),
    "images": ("Images", "张数"),
    "images_per_class": ("{classes} classes × {count}", "{classes} 类 × 每类 {count} 张"),
    "time": ("Time", "耗时"),
    "side_by_side": ("(Left: {left} | Right: {right})", "(左：{left} | 右：{right})"),
    "from_left": ("(From left: {all})", "(从左至右：{all})"),
    "single_picture": ("{caption}:", "{caption}："),
    "method_steps": ("{method} {steps} steps", "{method} {steps} 步"),
    "method_one_step": ("{method} 1 step", "{method} 1 步"),
    "sample_caption": ("{method}, CFG {scale}", "{method}，CFG {scale}"),
    "count_caption": ("{count} images, {caption}", "{count} 张图片，{caption}"),
    "gif_caption": (
        "x_t and the clean images predicted from it, {caption}",
        "x_t 与由其预测的 x0，{caption}",
    ),
    # checkpoints
    "epoch_n": ("epoch {epoch}", "训练 {epoch} 轮"),
    "lowest_mse": ("{checkpoint}, lowest MSE", "{checkpoint}，MSE 最低"),
    "as_imported": ("as imported", "导入的权重"),
    "of_weights": ("{text} ({weights})", "{text}（{weights}）"),
    "usual_average": ("usual average", "常规平均权重"),
    "slower_average": ("slower average", "慢速平均权重"),
    "raw_weights": ("raw weights", "原始权重"),
    # evaluation
    "no_evaluations": ("This run has not been evaluated yet.", "尚未对该实验进行评估。"),
    "reference": (
        "Reference: {name}, {count} images (sha256 {digest})",
        "参考集：{name}，{count} 张（sha256 {digest}）",
    ),
    "held_out_set": ("Real held-out images: sha256 {digest}", "真实图片（留出集）：sha256 {digest}"),
    "extractor": ("Features: {name} (sha256 {digest})", "特征网络：{name}（sha256 {digest}）"),
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
    "clip": ("Clipping", "裁剪"),
    "yes": ("yes", "是"),
    "no": ("no", "否"),
    "seed": ("Seed", "种子"),
    "other_measurement": (
        "Measured against other real images, with another extractor or number of images: not comparable "
        "with the above.",
        "参考集、留出集、特征网络或图片数不同，不可与上表比较。",
    ),
    "other_weights": (
        "Drawn with other weights of the checkpoints: not comparable with the above.",
        "采样所用权重不同，不可与上表比较。",
    ),
    "spread_meaning": ("± is the standard error of the figure.", "± 为该数值的标准误差。"),
    "split_meaning": ("(±) is the standard deviation over splits.", "(±) 为各分组间的标准差。"),
    "per_class": ("By class, for {row}:", "各类结果（{row}）："),
    "class": ("Class", "类别"),
    "of_real": ("{metric}, real", "{metric}（真实）"),
    "row_name": ("{checkpoint}, {sampler}", "{checkpoint}，{sampler}"),
    "best_row": ("Best by {metric}: {row}, {value}.", "按 {metric} 最佳：{row}，{value}。"),
    "best_row_ties": (
        "Best by {metric}: {row}, {value}; {ties} more within twice the standard error of the difference.",
        "按 {metric} 最佳：{row}，{value}；另有 {ties} 行与其相差不到两倍标准误差。",
    ),
    "mse_note": (
        "The lowest MSE is not the best: with {settings}, {better} reaches {metric} {value}, the checkpoint "
        "with the lowest MSE ({lowest}) {other}. Evaluate several checkpoints before choosing one.",
        "说明：训练时 MSE 最低不一定评估最佳。在 {settings} 的条件下，{better}的 {metric} 为 {value}，"
        "而 MSE 最低的存档（{lowest}）为 {other}。建议对多份存档评估后再选最终模型。",
    ),
    # provenance
    "environment": ("Environment: {versions}", "运行环境：{versions}"),
    "attempt": ("Attempt", "次序"),
    "kept_epochs": ("Epochs", "轮次区间"),
    "from_to": ("{start} to {end}", "{start} 至 {end}"),
    "ending": ("Ended", "结束方式"),
    "finished": ("finished", "完成"),
    "stopped": ("stopped after saving ({reason})", "保存后停止（{reason}）"),
    "diverged": ("went astray, nothing saved", "训练发散，未保存"),
    "killed": ("broken off without saving", "未保存即中断"),
    "open": ("unfinished, or still running", "未完成，或仍在运行"),
    "lost": ("{ending}; {epochs} epochs taken again", "{ending}；{epochs} 轮重新训练"),
    "went_on_from": ("Went on from", "续训起点"),
    "the_start": ("the start", "从头开始"),
    "remarks": ("Remarks", "备注"),
    "went_back": ("went back by itself at epoch {epoch}: {fault}", "第 {epoch} 轮自动回退：{fault}"),
    "skipped": ("passed over {checkpoint}", "跳过 {checkpoint}"),
    "changed": ("{name}: {old} → {new}", "{name}：{old} → {new}"),
    "next": ("Next:", "下一步："),
}
"""key: (English, Chinese)."""


class Language:
    """The texts of one language, as a function of key and values; UserError for a language there is not."""

    def __init__(self, code: str):
        if code not in LANGUAGES:
            raise UserError(f"--language {code}", "no such language", f"choose {' or '.join(LANGUAGES)}")
        self.code = code
        self._column = LANGUAGES.index(code)

    def __call__(self, key: str, **values: object) -> str:
        """Return the text of `key` with its places filled."""
        return TEXTS[key][self._column].format(**values)
